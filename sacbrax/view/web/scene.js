// Draws triangles with WebGL: meshes at poses, a chequered ground with their shadows, seen by a camera.
// Matrices are column-major arrays of 16, quaternions have w first, lengths are metres, z is up.
"use strict";

const VERTEX = `#version 300 es
uniform mat4 world, view;
in vec3 position, normal;
out vec3 at, facing;
void main() {
  vec4 place = world * vec4(position, 1.0);
  at = place.xyz;
  facing = mat3(world) * normal;
  gl_Position = view * place;
}`;

// kind 0: a body; 1: the ground, lighter and darker squares; 2: a shadow on it.
const FRAGMENT = `#version 300 es
precision highp float;
uniform vec3 eye, target;
uniform vec4 colour;
uniform float square, reach;
uniform int kind;
in vec3 at, facing;
out vec4 pixel;
const vec3 SKY = vec3(0.80, 0.86, 0.92);
void main() {
  vec3 shown;
  if (kind == 0) {
    vec3 n = normalize(facing), light = normalize(vec3(0.3, -0.5, 0.9)), sight = normalize(eye - at);
    if (dot(n, sight) < 0.0) n = -n;
    float shine = pow(max(dot(n, normalize(light + sight)), 0.0), 40.0);
    shown = colour.rgb * (0.50 + 0.18 * n.z + 0.42 * max(dot(n, light), 0.0)) + 0.14 * shine;
  } else {
    vec2 where = at.xy / square; // edges between squares are as sharp as a pixel
    vec2 wave = clamp((abs(fract(where / 2.0) - 0.5) - 0.25) * 2.0 / fwidth(where), -0.5, 0.5) * 2.0;
    float fade = 1.0 - clamp(max(fwidth(where).x, fwidth(where).y), 0.0, 1.0);
    shown = mix(vec3(0.42, 0.55, 0.66), vec3(0.49, 0.62, 0.73), 0.5 + 0.5 * wave.x * wave.y * fade);
    if (kind == 2) shown *= 0.72;
    shown = mix(shown, SKY, smoothstep(0.35, 1.0, length(at.xy - target.xy) / reach));
  }
  pixel = vec4(shown, kind == 0 ? colour.a : 1.0);
}`;

function multiply(a, b) {
  const c = new Float32Array(16);
  for (let i = 0; i < 4; i++)
    for (let j = 0; j < 4; j++)
      for (let k = 0; k < 4; k++) c[4 * i + j] += a[4 * k + j] * b[4 * i + k];
  return c;
}

function pose(p, q) {
  const [w, x, y, z] = q, s = 2 / (w * w + x * x + y * y + z * z);
  return new Float32Array([
    1 - s * (y * y + z * z), s * (x * y + w * z), s * (x * z - w * y), 0,
    s * (x * y - w * z), 1 - s * (x * x + z * z), s * (y * z + w * x), 0,
    s * (x * z + w * y), s * (y * z - w * x), 1 - s * (x * x + y * y), 0,
    p[0], p[1], p[2], 1,
  ]);
}

const minus = (a, b) => a.map((x, i) => x - b[i]);
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const unit = (a) => a.map((x) => x / (Math.hypot(...a) || 1));

// From the world to the screen, for an eye that looks at a target with `up` (nearly) upwards.
function look(eye, target, up, aspect, near, far) {
  const z = unit(minus(eye, target)), x = unit(cross(up, z)), y = cross(z, x), f = 2.2;
  const turn = new Float32Array([
    x[0], y[0], z[0], 0, x[1], y[1], z[1], 0, x[2], y[2], z[2], 0, -dot(x, eye), -dot(y, eye), -dot(z, eye), 1,
  ]);
  const wide = Math.min(1, aspect); // a narrow picture shows as much from side to side as a square one
  const lens = new Float32Array([
    (f * wide) / aspect, 0, 0, 0, 0, f * wide, 0, 0,
    0, 0, (far + near) / (near - far), -1, 0, 0, (2 * far * near) / (near - far), 0,
  ]);
  return multiply(lens, turn);
}

// [F * 9] corners and their normals: faces that meet in less than 40 degrees look round, others have an edge.
function corners(vertices, faces) {
  const count = faces.length / 3, normals = [], around = Array.from({ length: vertices.length / 3 }, () => []);
  const vertex = (i) => [vertices[3 * i], vertices[3 * i + 1], vertices[3 * i + 2]];
  for (let f = 0; f < count; f++) {
    const [a, b, c] = [0, 1, 2].map((i) => vertex(faces[3 * f + i]));
    normals.push(cross(minus(b, a), minus(c, a))); // as long as the face is large
    for (let i = 0; i < 3; i++) around[faces[3 * f + i]].push(f);
  }
  const units = normals.map(unit), out = new Float32Array(count * 18);
  for (let f = 0; f < count; f++)
    for (let i = 0; i < 3; i++) {
      const v = faces[3 * f + i], sum = [0, 0, 0];
      for (const g of around[v])
        if (dot(units[f], units[g]) > 0.766) for (let k = 0; k < 3; k++) sum[k] += normals[g][k];
      out.set([...vertex(v), ...unit(sum)], (3 * f + i) * 6);
    }
  return out;
}

// meshes: [{vertices, faces}]; geoms: [{body, mesh, position, quaternion, colour, moves}]. Returns null without WebGL 2, else
// draw(camera {eye, target, up, reach, square}, body matrices, ground height or null): `reach` is where the ground
// ends, `square` how large its squares are.
function makeScene(canvas, meshes, geoms) {
  const gl = canvas.getContext("webgl2", { antialias: true });
  if (!gl) return null;
  const program = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  gl.useProgram(program);
  const uniform = {};
  for (const name of ["world", "view", "eye", "target", "colour", "square", "reach", "kind"])
    uniform[name] = gl.getUniformLocation(program, name);

  function upload(numbers) {
    const array = gl.createVertexArray();
    gl.bindVertexArray(array);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, numbers, gl.STATIC_DRAW);
    for (const [name, offset] of [["position", 0], ["normal", 12]]) {
      const place = gl.getAttribLocation(program, name);
      gl.enableVertexAttribArray(place);
      gl.vertexAttribPointer(place, 3, gl.FLOAT, false, 24, offset);
    }
    return { array, count: numbers.length / 6 };
  }

  const buffers = meshes.map((mesh) => upload(corners(mesh.vertices, mesh.faces)));
  const plane = upload(corners([-1, -1, 0, 1, -1, 0, 1, 1, 0, -1, 1, 0], [0, 1, 2, 0, 2, 3]));
  const solid = geoms.filter((geom) => geom.mesh >= 0).sort((a, b) => b.colour[3] - a.colour[3]);
  const local = solid.map((geom) => pose(geom.position, geom.quaternion));
  gl.enable(gl.DEPTH_TEST);
  gl.depthFunc(gl.LEQUAL);
  gl.enable(gl.BLEND);
  gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);

  function paint(buffer, world, kind, colour) {
    gl.uniformMatrix4fv(uniform.world, false, world);
    gl.uniform4fv(uniform.colour, colour);
    gl.uniform1i(uniform.kind, kind);
    gl.bindVertexArray(buffer.array);
    gl.drawArrays(gl.TRIANGLES, 0, buffer.count);
  }

  return function draw(camera, bodies, ground) {
    const { eye, target, up, reach } = camera, ratio = window.devicePixelRatio || 1;
    canvas.width = canvas.clientWidth * ratio;
    canvas.height = canvas.clientHeight * ratio;
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clearColor(0.8, 0.86, 0.92, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const distance = Math.hypot(...minus(eye, target)), aspect = canvas.width / canvas.height;
    gl.uniformMatrix4fv(uniform.view, false, look(eye, target, up, aspect, distance / 50, distance * 2 + reach * 2));
    gl.uniform3fv(uniform.eye, eye);
    gl.uniform3fv(uniform.target, target);
    gl.uniform1f(uniform.reach, reach);
    gl.uniform1f(uniform.square, camera.square);
    const worlds = solid.map((geom, i) => multiply(bodies[geom.body], local[i])), none = [0, 0, 0, 1];
    if (ground !== null && eye[2] > ground) {
      const wide = pose([target[0], target[1], ground], [1, 0, 0, 0]).map((x, i) => (i < 12 ? x * reach : x));
      gl.enable(gl.POLYGON_OFFSET_FILL);
      gl.polygonOffset(1, 4); // the ground lies a little behind the shadows on it
      paint(plane, wide, 1, none);
      gl.disable(gl.POLYGON_OFFSET_FILL);
      const flat = new Float32Array([1, 0, 0, 0, 0, 1, 0, 0, -0.33, 0.55, 0, 0, 0.33 * ground, -0.55 * ground, ground, 1]);
      solid.forEach((geom, i) => geom.moves && paint(buffers[geom.mesh], multiply(flat, worlds[i]), 2, none));
    }
    solid.forEach((geom, i) => paint(buffers[geom.mesh], worlds[i], 0, geom.colour));
  };
}
